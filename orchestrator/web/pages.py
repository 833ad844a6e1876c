"""The pages, one handler each."""

from __future__ import annotations

from orchestrator.web.handlers import Page


class RunPage(Page):
    """One run. The template gets `view`, what the API answers for the run."""

    async def get(self, run_id: str) -> None:
        view = await self.ask(lambda: self.site.client.run(run_id).document())
        self.show("run.html", view=view)
