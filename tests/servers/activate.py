"""
Plays the service manager's part: ``python tests/servers/activate.py NAME=FD… -- COMMAND…`` becomes COMMAND, with the inherited
descriptors passed as ``sd_listen_fds(3)`` has it.
"""

import os
import sys

split = sys.argv.index("--")
named = [word.partition("=") for word in sys.argv[1:split]]
# Out of the way first, as one of them may be where another one belongs.
away = [os.dup(int(descriptor)) for _, _, descriptor in named]
while any(descriptor < 3 + len(away) for descriptor in away):
    away = [os.dup(descriptor) for descriptor in away]
for place, descriptor in enumerate(away):
    os.dup2(descriptor, 3 + place, inheritable=True)
os.environ["LISTEN_FDS"] = str(len(named))
os.environ["LISTEN_FDNAMES"] = ":".join(name for name, _, _ in named)
os.environ["LISTEN_PID"] = str(os.getpid())
if "WATCHDOG_USEC" in os.environ:
    os.environ["WATCHDOG_PID"] = str(os.getpid())
os.execvp(sys.argv[split + 1], sys.argv[split + 1 :])
