# SPDX-License-Identifier: Apache-2.0
"""What HongMeng's trace events print by functions of that kernel, spelled as its own text traces spell it."""

from __future__ import annotations

_STATES = {0x0: "R", 0x1: "S", 0x2: "D", 0x10: "X", 0x100: "R+"}


def state_text(state: int) -> str:
    """Return a thread's state as hm_trace_tcb_state2str() does; `?` for one that is not known."""
    return _STATES.get(state, "?")


def schedule_text(packed: bytes) -> str:
    """Return `affinity,load,group,restricted,expel,cgid` from the eight bytes of `ninfo`; `?` when there are fewer.

    The affinity is a hexadecimal mask; load is stored halved, in the bits 0..9 of the second word, then follow group
    (10, 11), restricted (12), expel (13..15) and the control group (16..20).
    """
    if len(packed) < 8:
        return "?"
    affinity, rest = int.from_bytes(packed[:4], "little"), int.from_bytes(packed[4:8], "little")
    load, group, restricted = rest & 0x3FF, rest >> 10 & 0x3, rest >> 12 & 0x1
    return f"{affinity:x},{load << 1},{group},{restricted},{rest >> 13 & 0x7},{rest >> 16 & 0x1F}"
