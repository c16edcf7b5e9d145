"""The one error tree of taktora; classes only, each message is built from the fields it carries.

::

    TaktoraError
    +-- ConnectorError
    |   +-- TransportError        (OSError)           a port could not be opened, loaned or sent
    |   +-- CodecError            (ValueError)        a value cannot be encoded or a payload decoded
    |   +-- PayloadOverflow       (BufferError)       the encoded value is larger than the channel
    |   +-- BackPressure          (BlockingIOError)   a bounded queue is full; try again later
    |   |   +-- NotReady                              the bus is not up for the first time yet; try again later
    |   +-- LinkDown              (ConnectionError)   the connector's health is Down
    |   +-- StackError            (RuntimeError)      the protocol stack failed
    |   +-- RoutingError          (LookupError)       an inbound message matches no channel
    |   +-- ShutdownError         (RuntimeError)      the host or the port has been closed
    |   +-- ConfigurationError    (ValueError)        a name, size, routing or file is wrong
    +-- IllegalTransition         (ValueError)        a state machine was asked for a forbidden move
    +-- ExecutorError
        +-- BuilderError          (ValueError)
        +-- DeclareTriggersError  (ValueError)
        +-- InvalidGraph          (ValueError)
        +-- ItemError             (RuntimeError)
        +-- AlreadyRunning        (RuntimeError)
        +-- TaskNotFound          (LookupError)
        +-- TaskNotFaulted        (RuntimeError)
        +-- ExecutorNotFaulted    (RuntimeError)
        +-- AdmissionRejected     (RuntimeError)
        +-- RunnerJoinError       (RuntimeError)

Each leaf also derives from the builtin that fits it, so that ordinary ``except ValueError`` code keeps working.
"""

from __future__ import annotations

__all__ = [
    "AdmissionRejected",
    "AlreadyRunning",
    "BackPressure",
    "BuilderError",
    "CodecError",
    "ConfigurationError",
    "ConnectorError",
    "DeclareTriggersError",
    "ExecutorError",
    "ExecutorNotFaulted",
    "IllegalTransition",
    "InvalidGraph",
    "ItemError",
    "LinkDown",
    "NotReady",
    "PayloadOverflow",
    "RoutingError",
    "RunnerJoinError",
    "ShutdownError",
    "StackError",
    "TaktoraError",
    "TaskNotFaulted",
    "TaskNotFound",
    "TransportError",
]


class TaktoraError(Exception):
    """Root of everything taktora raises on purpose."""


class ConnectorError(TaktoraError):
    """Root of what channels, connectors and transports raise."""


class TransportError(ConnectorError, OSError):
    """A port or service could not be opened, loaned from or sent on."""


# req: REQ_0213
class CodecError(ConnectorError, ValueError):
    """A value cannot be encoded, or a payload cannot be decoded.

    Args:
        format_name: ``format_name`` of the codec, for example ``"json"``.
        cause: What went wrong, in words; the original exception is chained.
        field: Name of the field whose value cannot be encoded, where it is one.
    """

    def __init__(self, format_name: str, cause: str, field: str = "") -> None:
        self.format_name = format_name
        self.field = field
        self.cause = cause
        super().__init__(f"{format_name}: {cause}")


class PayloadOverflow(ConnectorError, BufferError):
    """The encoded value needs ``actual`` bytes and the channel holds ``max`` bytes."""

    def __init__(
        self,
        actual: int,
        max: int,  # noqa: A002 - the field's name in the requirement
        where: str = "",
        way_out: str = "raise max_payload_size",
    ) -> None:
        self.actual = actual
        self.max = max
        place = f" of {where}" if where else ""
        super().__init__(f"payload of {actual} bytes does not fit the {max} bytes{place}; {way_out}")


class BackPressure(ConnectorError, BlockingIOError):
    """A bounded queue on the way is full; nothing was sent and the same call may succeed later."""


class NotReady(BackPressure):
    """The connector takes no messages before its bus is up; nothing was sent and the same call may succeed later."""


class LinkDown(ConnectorError, ConnectionError):
    """The connector is Down; nothing is stored on its behalf (REQ_0292)."""


class StackError(ConnectorError, RuntimeError):
    """The protocol stack failed; the cause is chained."""


class RoutingError(ConnectorError, LookupError):
    """An inbound message carries an address that matches no open channel."""


class ShutdownError(ConnectorError, RuntimeError):
    """The host or the port has been closed; the graceful end of a loop."""


class ConfigurationError(ConnectorError, ValueError):
    """A name, size, routing, topology or file was refused before anything was opened."""


class IllegalTransition(TaktoraError, ValueError):
    """A state machine was asked for a move its table does not have; the state is unchanged.

    Args:
        source: Name of the state the machine is in.
        target: Name of the state that was asked for.
    """

    def __init__(self, source: str, target: str, machine: str = "") -> None:
        self.source = source
        self.target = target
        super().__init__(f"{machine + ': ' if machine else ''}no transition from {source} to {target}")


class ExecutorError(TaktoraError):
    """Root of what executors raise."""


class BuilderError(ExecutorError, ValueError):
    """An executor was built with values that make no sense together."""


class DeclareTriggersError(ExecutorError, ValueError):
    """An item's triggers were refused; the task table is unchanged."""


class InvalidGraph(ExecutorError, ValueError):
    """A graph has no root, a cycle, a self-loop, a bad index or an unreachable vertex."""


class ItemError(ExecutorError, RuntimeError):
    """An item failed on purpose: raise it from ``execute``; the task's siblings go on."""


class AlreadyRunning(ExecutorError, RuntimeError):
    """``run`` was called while the same executor runs, or after it was stopped."""


class TaskNotFound(ExecutorError, LookupError):
    """No task has this id."""


class TaskNotFaulted(ExecutorError, RuntimeError):
    """A fault was to be cleared on a task that is Running."""


class ExecutorNotFaulted(ExecutorError, RuntimeError):
    """A fault was to be cleared on an executor that is Running."""


class AdmissionRejected(ExecutorError, RuntimeError):
    """The cold-start admission check refused to let the executor run (TSR_0011)."""


class RunnerJoinError(ExecutorError, RuntimeError):
    """A runner's thread did not end within its time limit."""
