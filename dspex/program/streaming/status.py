"""What a program does, told while it does it: in words of the user's, and its tools as events."""

from typing import Any

from dspex.program.streaming.channel import Channel
from dspex.program.streaming.events import StatusMessage, ToolFinished, ToolStarted
from dspex.runtime.callbacks import BaseCallback
from dspex.runtime.scope import SCOPE

FINISH = "finish"  # how an agent says that it is done; no tool of the user's


class StatusMessageProvider:
    """Subclass and override what you want to tell; None tells nothing. By default tools are told of."""

    def tool_start_status_message(self, instance: Any, inputs: dict[str, Any]) -> str | None:
        """A tool is about to run."""
        return f"Calling tool {instance.name}..."

    def tool_end_status_message(self, outputs: Any) -> str | None:
        """A tool has ended."""
        return "The tool has answered, and the model goes on with that."

    def module_start_status_message(self, instance: Any, inputs: dict[str, Any]) -> str | None:
        """A module begins."""
        return None

    def module_end_status_message(self, outputs: Any) -> str | None:
        """A module has ended."""
        return None

    def lm_start_status_message(self, instance: Any, inputs: dict[str, Any]) -> str | None:
        """A model is about to be asked."""
        return None

    def lm_end_status_message(self, outputs: Any) -> str | None:
        """A model has answered."""
        return None


class StatusCallback(BaseCallback):
    """Sends a provider's messages to one stream. A provider that fails is warned of, as any callback."""

    def __init__(self, provider: StatusMessageProvider, channel: Channel) -> None:
        self._provider = provider
        self._channel = channel
        self._unnamed: set[str] = set()

    def _tell(self, message: str | None) -> None:
        if message:
            self._channel.put(StatusMessage(message, SCOPE.get().path))

    def on_tool_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        if instance.name == FINISH:
            self._unnamed.add(call_id)
        else:
            self._tell(self._provider.tool_start_status_message(instance, inputs))

    def on_tool_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        if call_id in self._unnamed:
            self._unnamed.discard(call_id)
        else:
            self._tell(self._provider.tool_end_status_message(outputs))

    def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        self._tell(self._provider.module_start_status_message(instance, inputs))

    def on_module_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        self._tell(self._provider.module_end_status_message(outputs))

    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        self._tell(self._provider.lm_start_status_message(instance, inputs))

    def on_lm_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        self._tell(self._provider.lm_end_status_message(outputs))


class ToolEvents(BaseCallback):
    """Sends the starts and ends of tools to one stream."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._names: dict[str, str] = {}

    def on_tool_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        if instance.name != FINISH:
            self._names[call_id] = instance.name
            self._channel.put(ToolStarted(instance.name, dict(inputs), call_id, SCOPE.get().path))

    def on_tool_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        name = self._names.pop(call_id, None)
        if name is not None:
            error = None if exception is None else f"{type(exception).__name__}: {exception}".removesuffix(": ")
            self._channel.put(ToolFinished(name, call_id, outputs, error, SCOPE.get().path))
