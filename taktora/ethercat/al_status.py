"""What the AL status codes of register 0x0134 mean (ETG.1000.6, ETG.1020), in words; it reads no register."""

from __future__ import annotations

from typing import Final

__all__ = ["AL_STATUS_TEXTS", "al_status_text"]

AL_STATUS_TEXTS: Final[dict[int, str]] = {
    0x0000: "no error",
    0x0001: "unspecified error",
    0x0002: "no memory",
    0x0003: "invalid device set-up",
    0x0006: "SII and firmware do not match",
    0x0007: "firmware update not successful",
    0x0011: "invalid requested state change",
    0x0012: "unknown requested state",
    0x0013: "bootstrap not supported",
    0x0014: "no valid firmware",
    0x0015: "invalid mailbox configuration in BOOT",
    0x0016: "invalid mailbox configuration",
    0x0017: "invalid SyncManager configuration",
    0x0018: "no valid inputs",
    0x0019: "no valid outputs",
    0x001A: "synchronisation error",
    0x001B: "SyncManager watchdog",
    0x001C: "invalid SyncManager types",
    0x001D: "invalid output configuration",
    0x001E: "invalid input configuration",
    0x001F: "invalid watchdog configuration",
    0x0020: "needs a cold start",
    0x0021: "needs INIT",
    0x0022: "needs PRE-OP",
    0x0023: "needs SAFE-OP",
    0x0024: "invalid input mapping",
    0x0025: "invalid output mapping",
    0x0026: "inconsistent settings",
    0x0027: "free run not supported",
    0x0028: "synchronisation not supported",
    0x0029: "free run needs three-buffer mode",
    0x002A: "background watchdog",
    0x002B: "no valid inputs and outputs",
    0x002C: "fatal synchronisation error",
    0x002D: "no SYNC signal",
    0x0030: "invalid DC SYNC configuration",
    0x0031: "invalid DC latch configuration",
    0x0032: "PLL error",
    0x0033: "invalid DC input or output error",
    0x0034: "invalid DC time-out",
    0x0035: "DC cycle time not supported or too short",
    0x0036: "invalid SYNC0 cycle time",
    0x0037: "invalid SYNC1 cycle time",
    0x0041: "mailbox AoE error",
    0x0042: "mailbox EoE error",
    0x0043: "mailbox CoE error",
    0x0044: "mailbox FoE error",
    0x0045: "mailbox SoE error",
    0x004F: "mailbox VoE error",
    0x0050: "EEPROM cannot be accessed",
    0x0051: "EEPROM error",
    0x0060: "restarted by itself",
    0x0061: "device identification updated",
    0x00F0: "application controller available",
}


def al_status_text(code: int) -> str:
    """Return the meaning of an AL status code."""
    return AL_STATUS_TEXTS.get(code, "code of the manufacturer" if code >= 0x8000 else "unknown code")
