"""The commands that taktora_hil brings: ``taktora rig`` and ``taktora hil``."""
