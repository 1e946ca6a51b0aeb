"""Record what is served into a HAR file for ``gateway compare``: off the event loop, bounded, redacted.

har.py        one exchange as a HAR entry
archive.py    the file, whole after every write
sessions.py   which requests belong together
options.py    what to record, as a worker is told in its environment
recorder.py   the bounded queue and the thread that writes
"""

from gateway.recording.options import RECORD_VARIABLE, RecordOptions
from gateway.recording.recorder import Recorder, recorder_from_environ

__all__ = ["RECORD_VARIABLE", "RecordOptions", "Recorder", "recorder_from_environ"]
