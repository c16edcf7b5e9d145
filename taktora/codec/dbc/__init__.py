"""A codec that carries DBC messages: the type of a value chooses the message; it does no I/O and knows no bus.

==========  ==========================================================
module      what is in it
==========  ==========================================================
`loading`   reads the file with cantools, and refuses bad ones by line
`model`     what the file says: messages, signals, their classes
`classes`   whether and how a class holds the signals of a message
`layout`    which bytes of a message ``struct`` takes together
`encoding`  functions compiled for a class: values to bytes
`decoding`  functions compiled for a class: bytes to values
`exact`     the same for every message, slower, with all texts
`codec`     :class:`DbcCodec`, the codec itself
==========  ==========================================================
"""

from __future__ import annotations

from taktora.codec.dbc.codec import DbcCodec
from taktora.codec.dbc.loading import load_dbc
from taktora.codec.dbc.model import Dbc, DbcMessage, DbcSignal, SignalPlace

__all__ = ["Dbc", "DbcCodec", "DbcMessage", "DbcSignal", "SignalPlace", "load_dbc"]
