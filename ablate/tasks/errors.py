"""What goes wrong with a task before anything is scored."""


class TaskError(ValueError):
    """A task that cannot be loaded or scored; names the task or file and line, and what to do."""


class UnknownTaskError(TaskError):
    """No task is registered under the kind; the message lists the known ones and the nearest."""
