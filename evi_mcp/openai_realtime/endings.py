"""How responses end for the caller: heard to the end, cut by the caller, or cut by somebody else."""

from evi_mcp.openai_realtime.reading import Object, text, whole
from evi_mcp.openai_realtime.responses import Response, Responses
from evi_mcp.openai_realtime.timeline import Timeline


class Endings:
    """Publishes the end of each response, once, behind all that it said.

    Args:
        timeline: Where it is put.
        responses: The responses of the call.
    """

    def __init__(self, timeline: Timeline, responses: Responses) -> None:
        self._timeline = timeline
        self._responses = responses
        self.has_spoken = False
        """Whether the assistant was heard: from then on its voice is fixed."""

    def audible(self, event: Object, now: float, at_ms: int) -> None:
        """`output_audio_buffer.started`, `.stopped` and `.cleared`: what the caller hears."""
        kind = str(event.get("type")).rpartition(".")[2]
        id_ = text(event, "response_id")
        if kind == "started":
            if id_:
                response = self._responses.known(id_)
                if response.audio == "none":
                    response.audio, response.started_at = "playing", now
                    self.has_spoken = True
            return
        for response in [self._responses.known(id_)] if id_ else self._responses.playing:
            if response.audio != "playing":
                continue
            response.audio = "stopped" if kind == "stopped" else "cut"
            if kind == "cleared" and response.heard_ms is None:
                response.heard_ms = max(0, round((now - response.started_at) * 1000))
            self.close(response, at_ms)

    def truncated(self, event: Object, at_ms: int) -> None:
        """`conversation.item.truncated`: exactly how much of a message was heard."""
        response = self._responses.of_item(text(event, "item_id"))
        if response is not None and (heard := whole(event, "audio_end_ms")) is not None:
            response.heard_ms = heard
            self.close(response, at_ms)

    def close(self, response: Response, at_ms: int) -> None:
        """Publishes the end of a response, if it is known; an interruption also if the end is out already."""
        if response.outside or not response.done:
            return
        ending = response.ending(at_ms)
        if not response.over:
            if self._timeline.otherwise(response.end_key, ending):
                response.cut_told = response.interrupted
            return
        if not response.told:
            response.told = True
            if self._timeline.fill(response.end_key, ending, late=False):
                response.cut_told = response.interrupted
                return
        if response.interrupted and response.spoken and not response.cut_told:
            response.cut_told = True
            self._timeline.now(response.interruption(at_ms))

    def hold(self, response: Response) -> None:
        """Keeps a place behind all of a response for its end."""
        if not response.outside:
            self._timeline.place(response.end_key, group=response.id)
            self._timeline.otherwise(response.end_key, [{"type": "assistant_end"}])
