"""A TCP echo server, as one would write it in Python first: a thread for each connection.

labkit starts it on the DUT of a lab and says by variables where to listen: see program.yml.
"""

from __future__ import annotations

import os
import socket
from socketserver import BaseRequestHandler, ThreadingTCPServer


class Echo(BaseRequestHandler):
    """Sends what comes in back, without waiting for more to send."""

    def handle(self) -> None:
        """One connection, until the other end closes it."""
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := self.request.recv(1 << 16):
            self.request.sendall(data)


class Server(ThreadingTCPServer):
    """Its threads end with it; and so does its hold on the port."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128
    address_family = socket.AF_INET6 if os.environ["LABKIT_IP_VERSION"] == "6" else socket.AF_INET


def main() -> None:
    """Serve until labkit ends it."""
    with Server((os.environ["LABKIT_ADDRESS"], int(os.environ["LABKIT_PORT"])), Echo) as server:
        print("ready", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
