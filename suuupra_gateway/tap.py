"""
``twistd suuupra-gateway``: options, and the service that they make.
"""

from __future__ import annotations

import sys
from typing import ClassVar

from twisted.application.service import IService
from twisted.python import usage

from suuupra_gateway.config.decode import ConfigErrors
from suuupra_gateway.process.generation import Loaded, load


class Options(usage.Options):
    """What follows ``suuupra-gateway`` on twistd's command line."""

    optParameters: ClassVar = [["config", "c", None, "The configuration file."]]
    optFlags: ClassVar = [["check", None, "Check the configuration, say what is wrong, and end: 0 if nothing is."]]

    longdesc = (
        "An API gateway. SIGHUP reloads the configuration, SIGUSR2 replaces the workers by what is installed now, SIGUSR1 "
        "reopens log files, SIGTERM drains; docs/operations.rst tells more."
    )

    loaded: Loaded

    def postOptions(self) -> None:
        """
        Load the configuration.

        :raises UsageError: if none is named.
        :raises SystemExit: with everything that is wrong with it, and after ``--check``.
        """
        path = self["config"]
        if path is None:
            raise usage.UsageError("name the configuration: --config FILE")
        try:
            self.loaded = load(path)
        except (ConfigErrors, OSError) as reason:
            # Not a UsageError: that would print the whole help before it.
            raise SystemExit(str(reason)) from reason
        if self["check"]:
            config = self.loaded.config
            sys.stdout.write(
                f"{path}: {len(config.listeners)} listeners, {len(config.routes)} routes, "
                f"{len(config.upstreams)} upstreams: all is well\n"
            )
            raise SystemExit(0)


def makeService(options: Options) -> IService:
    """
    The gateway as a service, its listeners already bound: that may need privileges which twistd drops later.

    :raises SystemExit: if one cannot be bound, with the reason.
    """
    from twisted.internet import reactor

    from suuupra_gateway.process.notify import started_with
    from suuupra_gateway.process.sockets import CannotListen
    from suuupra_gateway.process.supervisor import Supervisor

    # Our own observers write to standard error, which workers share; anybody else's may hold a file that they must not.
    factory = options.parent["logger"] if options.parent is not None else None
    logger = ""
    if factory is not None and factory.__module__.startswith("suuupra_gateway."):
        logger = f"{factory.__module__}.{factory.__name__}"
    supervisor = Supervisor(reactor, options["config"], options.loaded, logger=logger)
    try:
        supervisor.bind(started_with())
    except CannotListen as reason:
        raise SystemExit(str(reason)) from reason
    return supervisor
