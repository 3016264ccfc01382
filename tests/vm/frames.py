"""Sent to the tester guest and run there by its own Python: frames out, and back in with the addresses swapped.

python3 - INTERFACE OWN_MAC DUT_MAC COUNT   -> one JSON line: sent, returned, duplicates, foreign
"""

import json
import select
import socket
import struct
import sys
import time

interface, own, peer, count = (
    sys.argv[1],
    *(bytes.fromhex(mac.replace(":", "")) for mac in sys.argv[2:4]),
    int(sys.argv[4]),
)
MARK = b"labkit-vm"


def frame(number):
    """64 bytes with the FCS: IPv4 and UDP between benchmark addresses (RFC 2544), a mark and a number."""
    payload = MARK + struct.pack("!I", number)
    udp = struct.pack("!HHHH", 49184, 49185, 8 + len(payload), 0) + payload
    addresses = socket.inet_aton("198.18.0.1") + socket.inet_aton("198.18.0.2")
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), number & 0xFFFF, 0, 64, 17, 0) + addresses
    total = sum(struct.unpack("!10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    header = header[:10] + struct.pack("!H", checksum) + header[12:]
    return (peer + own + b"\x08\x00" + header + udp).ljust(60, b"\0")


port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
port.bind((interface, 0))
seen, duplicates, foreign = set(), 0, 0


def receive(until):
    global duplicates, foreign
    while True:
        left = until - time.monotonic()
        if not select.select([port], [], [], max(left, 0))[0]:
            return
        got, address = port.recvfrom(2048)
        if address[2] == socket.PACKET_OUTGOING:
            continue
        at = got.find(MARK)
        if at < 0 or got[:6] != own or got[6:12] != peer:
            foreign += 1
            continue
        (number,) = struct.unpack("!I", got[at + len(MARK) : at + len(MARK) + 4])
        duplicates += number in seen
        seen.add(number)


for number in range(count):
    port.send(frame(number))
    receive(time.monotonic() + 0.002)
receive(time.monotonic() + 2)
print(json.dumps({"sent": count, "returned": len(seen), "duplicates": duplicates, "foreign": foreign}))
