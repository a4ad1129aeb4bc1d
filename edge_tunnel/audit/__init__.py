"""What happened, for whoever asks later: an append-only log that shows what was changed in it.

* `records`: what is recorded, and `Audit`, to which a node tells it. Pure.
* `chain`: each record carries the hash of the one before it. Pure.
* `verify`: whether a log is as it was written. Pure.
* `file`: the file on disk: append, rotate, and go on after a crash.
* `tail`: where a log goes on. Pure.
* `damper`: a flood of refusals is not a flood of records. Pure.
* `log`: seals records and writes them; waits for the disk, so it runs in a thread.
* `reading`: the files of a log in order, and which records somebody asks for.
* `writer`: the bounded queue between a node, which never waits, and that thread.

A leaf that `proxy` and `cli` import.
"""

from __future__ import annotations
