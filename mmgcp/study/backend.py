"""What the scheduler asks of a machine or a cluster."""

from typing import Any, Protocol

from .step import Step


class Job(Protocol):
    """A step that was started."""

    @property
    def name(self) -> str:
        """How a user finds it: a process or job number."""
        ...

    def poll(self) -> int | None:
        """Exit status, or None while it waits or runs."""
        ...

    def interrupt(self) -> None:
        """Ask it to end."""
        ...

    def stop(self) -> None:
        """Make sure that it ends."""
        ...


class Backend(Protocol):
    """Starts steps.

    Attributes:
        shared_machine: Whether steps slow each other, so that one which measures
            time has to be alone.
        jobs: Steps at a time.
    """

    shared_machine: bool
    jobs: int

    def has_room(self, step: Step, running: int) -> bool:
        """Whether the step can start beside ``running`` others."""
        ...

    def environment(self, step: Step) -> dict[str, str]:
        """Variables to set for the step."""
        ...

    def start(self, step: Step, command: list[str]) -> Job:
        """Start the step's command; its output goes to the step's log."""
        ...

    def attach(self, step: Step, name: str) -> Job | None:
        """Find a job of a study that was killed; None to start it again."""
        ...

    def release(self, job: Any) -> None:
        """Take back what a finished job held."""
        ...
