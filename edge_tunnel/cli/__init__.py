"""The command line: ``edge-tunnel``, one module for each subcommand.

Such a module has ``add_parser(subparsers)`` and ``run(args) -> int``. `main` finds the command and
turns every error into one line and an exit code (`exits`); `events` prints what happens, for people
or as JSON lines; `stopping` is how a command ends.
"""
