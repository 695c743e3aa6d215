"""Bytes → CRC-32C, the checksum of TensorFlow's files, fast and in plain NumPy.

A CRC is the remainder of the message, read as a polynomial over GF(2), when divided by
a fixed P(x). The usual loop divides byte by byte. But the remainder modulo a multiple Q
of P has the right remainder modulo P, and P divides

    Q(x) = x^6777 + x^484 + x^100 + 1  (found by search; a test divides it)

and with it Q(x)^64 = Q(x^64), because squaring over GF(2) only doubles the exponents.
So, modulo P, a 64-bit word may be moved 6777 words further on if it is also added
(exclusive or) 6777 - 484 and 6777 - 100 words further on. A few vector operations thus
fold a message of any length into its last 6777 words, and a second round with single
bytes, Q(x)^8, leaves 6777 bytes for the loop.
"""

import numpy as np

FOLD = 6777
OFFSETS = FOLD - 484, FOLD - 100, FOLD
BYTES_AT_ONCE = 1 << 22  # bytes copied and folded at a time


def _remainder(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)  # P, its bits reversed
    return byte


TABLE = [_remainder(byte) for byte in range(256)]


def _fold(words: np.ndarray) -> np.ndarray:
    """The last FOLD words of `words` (overwritten), after all the earlier ones have
    been folded into them."""
    end = len(words) - FOLD
    for start in range(0, end, OFFSETS[0]):
        moved = words[start : min(start + OFFSETS[0], end)]
        for offset in OFFSETS:
            words[start + offset : start + offset + len(moved)] ^= moved
    return words[max(end, 0) :]


def crc32c(data: bytes | np.ndarray) -> int:
    """The CRC-32C (RFC 3720, appendix B.4) of bytes or of a uint8 array, which is read
    once and not copied whole."""
    data = np.frombuffer(data, np.uint8)
    crc = 0xFFFFFFFF
    for start in range(0, len(data), BYTES_AT_ONCE):
        piece = data[start : start + BYTES_AT_ONCE]
        if len(piece) > 2 * FOLD:
            words = piece[: len(piece) // 8 * 8].copy()
            words[:4] ^= np.frombuffer(crc.to_bytes(4, "little"), np.uint8)
            folded = _fold(_fold(words.view(np.uint64)).view(np.uint8))
            crc, piece = 0, np.concatenate([folded, piece[len(words) :]])
        for byte in piece.tobytes():
            crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def masked(crc: int) -> int:
    """The form in which TensorFlow's files store a CRC: rotated right by 15 bits, plus
    a constant."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
