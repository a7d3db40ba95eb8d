"""One finding of the doctor."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One thing looked at.

    Attributes
    ----------
    name: what was looked at, e.g. ``disk`` or ``instrument gates``.
    ok: whether it will do.
    detail: what was found.
    advice: what to do about it; empty where it is fine.
    """

    name: str
    ok: bool
    detail: str
    advice: str = ""
