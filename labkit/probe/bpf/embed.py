"""Turn a BPF object into a C header, so that the probe is one file: embed.py OBJECT HEADER SYMBOL."""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> None:
    """Write the object's bytes as a C array (aligned, since libbpf reads it as ELF in place)."""
    source, target, symbol = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    data = source.read_bytes()
    rows = [", ".join(f"{byte:#04x}" for byte in data[at : at + 16]) for at in range(0, len(data), 16)]
    body = ",\n    ".join(rows)
    target.write_text(
        f"/* Made by embed.py from {source.name}. */\n"
        f"static const unsigned char {symbol}[] __attribute__((aligned(16))) = {{\n    {body},\n}};\n"
    )


if __name__ == "__main__":
    main()
