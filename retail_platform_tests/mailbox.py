"""A mail server of this machine that takes what it is sent, or refuses everything."""

import socket
from email import message_from_bytes
from email.message import Message
from typing import Any

from aiosmtpd.controller import Controller


class Mailbox:
    """An SMTP server that keeps the mails it is sent; while `full` it refuses them.

    Attributes:
        got: (recipients, mail) of what it took.
    """

    def __init__(self) -> None:
        self.got: list[tuple[list[str], Message]] = []
        self.full = False
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._server = Controller(self, hostname="127.0.0.1", port=self.port)
        self._server.start()

    @property
    def address(self) -> str:
        """A channel that leads here."""
        who = "from=retail@example.com&to=ops@example.com"
        return f"mailto://127.0.0.1:{self.port}?{who}&mode=insecure"

    async def handle_DATA(  # noqa: N802 - the server's name for it
        self, server: Any, session: Any, envelope: Any
    ) -> str:
        """One mail."""
        if self.full:
            return "452 Insufficient system storage"
        self.got.append((envelope.rcpt_tos, message_from_bytes(envelope.content)))
        return "250 OK"

    def stop(self) -> None:
        self._server.stop()
