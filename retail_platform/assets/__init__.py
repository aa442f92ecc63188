"""The assets of the platform, from delivered files to marts, and how they record their events."""
