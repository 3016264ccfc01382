"""A UDP echo server, as one would write it in Python first.

labkit starts it on the DUT of a lab and says by variables where to listen: see program.yml.
"""

from __future__ import annotations

import os
import socket


def main() -> None:
    """Send each datagram back to where it came from."""
    family = socket.AF_INET6 if os.environ["LABKIT_IP_VERSION"] == "6" else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as server:
        server.bind((os.environ["LABKIT_ADDRESS"], int(os.environ["LABKIT_PORT"])))
        print("ready", flush=True)
        while True:
            data, sender = server.recvfrom(1 << 16)
            server.sendto(data, sender)


if __name__ == "__main__":
    main()
