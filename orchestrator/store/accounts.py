"""Who may do what on a server: the accounts of an installation, as lines of an ACL file of Redis 7 or Valkey 8.

Workers, clients, the monitor and the admin have one account each. Our scripts are functions that run with the rights
of their caller, so that the commands inside them are listed here, too. Pure text; `cli/hardening.py` writes the files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from orchestrator.settings import DEFAULT_PREFIX
from orchestrator.store.quarantine import KEY as QUARANTINE
from orchestrator.store.routing import queue_of

# All of CLIENT but what reaches other connections: redis-py tells its name with parts that Redis 7.0 does not know.
_CONNECT = (
    "+ping +select +info +time +client -client|kill -client|list -client|pause -client|unpause -client|unblock"
    " -client|no-evict"
)
_READ = (
    "+get +exists +ttl +pttl +type +hget +hmget +hgetall +hexists +hlen +hvals +hkeys +hstrlen +llen +lindex +lrange"
    " +smembers +sismember +scard +zcard +zcount +zscore +zmscore +zrange +zrevrange +zrangebyscore +zrangebylex"
    " +zlexcount +xlen +xrange +xrevrange +xread +xinfo|stream +multi +exec +discard +watch +unwatch +fcall"
)
_WRITE = (
    "+set +del +copy +rename +expire +pexpire +persist +hset +hsetnx +hincrby +hdel +lpush +rpush +ltrim +lrem +rpop"
    " +blpop +sadd +srem +zadd +zrem +zpopmin +zremrangebyscore +xadd +xtrim"
)


@dataclass(frozen=True)
class Place:
    """Where an installation lives on a server: the prefix of its keys, the number of its database."""

    prefix: str = DEFAULT_PREFIX
    database: int = 0

    @property
    def _store(self) -> str:
        # `~` alone is the empty key: what scripts get for a queue where they send nothing, or the broker is elsewhere.
        return f"~{self.prefix}* ~{QUARANTINE} ~"

    @property
    def _queues(self) -> str:
        return f"~{queue_of('*', self.prefix)}"

    @property
    def _events(self) -> str:
        # A pattern that is subscribed to must be one of these to the letter, so the database stands in it.
        return f"&/{self.database}.celeryev/*"

    @property
    def _control(self) -> str:
        return f"&/{self.database}.celery.pidbox"

    def worker(self) -> str:
        """Everything that is the installation's, and all that kombu keeps beside it."""
        kombu = "~unacked* ~_kombu.binding* ~celeryev* ~*celery.pidbox*"
        keys = f"{self._store} {self._queues} {kombu}"
        channels = f"+publish +subscribe +psubscribe +unsubscribe +punsubscribe {self._events} {self._control}"
        return f"{_CONNECT} {_READ} {_WRITE} {channels} {keys}"

    def client(self) -> str:
        """Submits, sends, receives and steers. It puts on queues and takes nothing off; it does not talk to workers.

        A function is given queues among its keys, so that calling one is a right of its own, with what it does inside.
        """
        put = f"(+lpush +exists +pexpire +llen +lrange +lindex {self._queues})"
        call = f"(+fcall {self._store} {self._queues})"
        # Celery declares a queue before it publishes, where the broker is another server.
        queues = queue_of("*", self.prefix)
        declare = f"~_kombu.binding.{queues} ~_kombu.binding_permanent.{queues}"
        return f"{_CONNECT} {_READ} {_WRITE} {self._store} {put} {call} (+sadd {declare})"

    def monitor(self) -> str:
        """Reads the installation, hears the events, asks workers, and has the journal counted for metrics.

        What it may write is in the parts in brackets: kombu's lists of who listens, the answers of workers, the sums.
        """
        channels = f"+publish +subscribe +psubscribe +unsubscribe +punsubscribe {self._events} {self._control}"
        kombu = "~_kombu.binding* ~celeryev* ~*celery.pidbox*"
        answers = f"(+sadd +srem +smembers +zadd +zrem +zrangebyscore +exists +del +lpush +lindex +ltrim +pexpire" \
            f" +blpop +llen +multi +exec {kombu})"  # fmt: skip
        # The pop names `unacked` among its keys also where it leaves it alone.
        pop = f"(+fcall ~unacked ~unacked_index {kombu})"
        sums = f"(+set +hset +hsetnx +hincrby +hdel ~{self.prefix}sums ~{self.prefix}sums:*)"
        return f"{_CONNECT} {_READ} {channels} {self._store} {self._queues} {answers} {pop} {sums}"

    def admin(self) -> str:
        """Everything: loads the functions, changes settings and accounts."""
        return "~* &* +@all"


ROLES: dict[str, Callable[[Place], str]] = {
    "admin": Place.admin, "worker": Place.worker, "client": Place.client, "monitor": Place.monitor,
}  # fmt: skip


def user_of(role: str) -> str:
    """The name of the account of a role."""
    return f"orchestrator-{role}"


def acl_lines(place: Place, passwords: dict[str, str]) -> list[str]:
    """The lines of the ACL file. Passwords are kept as digests.

    Args:
        passwords: role -> password, for each role of `ROLES`.
    """
    accounts = [
        f"user {user_of(role)} on #{sha256(passwords[role].encode()).hexdigest()} resetkeys resetchannels -@all"
        f" {rights(place)}"
        for role, rights in ROLES.items()
    ]
    # Nobody can be the default user, who is off and has no password. But as that user Redis 7.0 reads its append-only
    # file, and leaves out each transaction that holds what the user may not do.
    return ["user default off resetpass ~* &* +@all", *accounts]
