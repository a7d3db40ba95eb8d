"""What can go wrong, by the name of what went wrong.

Every error derives from :class:`LabThermoError` and from a fitting builtin, and its message names the
channel or file, the value with its unit, the limit, and what to do. States that a lab must live with
(unsettled, overflow, compliance, ...) are not errors: see :class:`labthermo.device.Status`.
"""

from __future__ import annotations


class LabThermoError(Exception):
    """Root of all errors that labthermo raises on purpose."""


class StationFileError(LabThermoError, ValueError):
    """A station or device file is wrong; the message names file, line and key."""


class QueryError(LabThermoError, ValueError):
    """A query does not fit the device: shape, name or a value that is not finite."""


class TaskError(LabThermoError, ValueError):
    """A task or its data file is wrong."""


class ParameterError(LabThermoError, ValueError):
    """A command's or procedure's parameter is unknown, out of bounds or in the wrong unit."""


class LimitError(LabThermoError, ValueError):
    """A move would leave the limits at the sample; nothing was moved."""


class ReadbackError(LabThermoError, RuntimeError):
    """A set-point was sent and the instrument reads back another value."""


class ComplianceError(LabThermoError, RuntimeError):
    """A compliance could not be delivered and confirmed; the output stays off."""


class InstrumentError(LabThermoError, OSError):
    """An instrument cannot be reached, is not the expected model, or answers outside its grammar."""


class BackendError(LabThermoError, RuntimeError):
    """A backend is asked for something it must refuse, such as `real` talking to a simulated instrument."""


class OwnershipError(LabThermoError, PermissionError):
    """An instrument or a run is held by another process."""


class RecordError(LabThermoError, RuntimeError):
    """A run's record cannot be written or read; nothing is shown that is not committed."""
