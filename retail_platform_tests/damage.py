"""How files get damaged on their way, by chance."""

import random

_BITS = (b"{", b"}", b"[", b"]", b'"', b"\\", b",", b"\n", b"\0", b"\xff", b"NaN")


def damaged(content: bytes, chance: random.Random) -> bytes:
    """The same content with nothing, something or a lot inserted, lost, repeated or cut off."""
    for _ in range(chance.choice([0, 1, 1, 1, 3, 10])):
        at = chance.randint(0, len(content))
        bit = chance.choice(_BITS)
        match chance.choice(["insert", "delete", "cut", "repeat", "replace"]):
            case "insert":
                content = content[:at] + bit + content[at:]
            case "replace":
                content = content[:at] + bit + content[at + len(bit) :]
            case "delete":
                content = content[:at] + content[at + chance.randint(1, 20) :]
            case "cut" if chance.random() < 0.3:
                content = content[:at]
            case _:
                content = content[:at] + content[max(0, at - 50) : at] * 2 + content[at:]
    return content
