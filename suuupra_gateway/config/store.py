"""
``gateway.store``, what all machines share.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from suuupra_gateway.config.address import store_url
from suuupra_gateway.config.spec import FilePath, Positive, Shorthand
from suuupra_gateway.config.units import Duration, Secret


class StoreSpec(Shorthand):
    """A Redis server. A plain string is its URL alone."""

    short_form = "The URL alone."

    url: Annotated[str, AfterValidator(store_url)]
    """``redis://host:port/db``, ``rediss://host:port/db`` (TLS) or ``unix:/path``; without user and password."""

    user: str = ""
    """Who we are (Redis ACL); empty for the default user."""

    password: Secret | None = None
    """Its password."""

    database: Annotated[int, Field(ge=0, le=999)] | None = None
    """Number of the database, when ``url`` has no place for it."""

    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9:._-]{1,40}$")] = "sg"
    """Begins the name of every key, followed by a colon."""

    ca_file: FilePath = ""
    """Who vouches for its certificate; empty for the system's authorities."""

    timeout: Positive = Duration(0.5)
    """For one command."""

    @property
    def place(self) -> str:
        """What tells its keys from all others: the same texts elsewhere mean something else."""
        return repr((self.url, self.database, self.prefix))

    @classmethod
    def unfold(cls, value: str) -> dict[str, Any]:
        """The URL alone."""
        return {"url": value}
