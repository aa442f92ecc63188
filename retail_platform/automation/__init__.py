"""What runs by itself: sensors, conditions, schedules."""
