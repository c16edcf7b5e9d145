"""The `taktora` command."""
