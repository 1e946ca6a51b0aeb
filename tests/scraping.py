"""Scrape the admin listener of a running gateway, as Prometheus would."""

from __future__ import annotations

import httpx
from prometheus_client.parser import text_string_to_metric_families

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Scraper:
    """Scrape a gateway's admin listener as Prometheus would."""

    def __init__(self, port: int) -> None:
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers={"Authorization": "Bearer secret"}
        )

    def samples(self) -> Samples:
        """Return every sample of one scrape."""
        answer = self.client.get("/metrics", timeout=10)
        assert answer.status_code == 200
        return samples_of(answer.text)

    def sum(self, name: str, **labels: str) -> float:
        """Return the sum of a metric over all series that carry ``labels``."""
        return sum(
            value
            for (found, all_labels), value in self.samples().items()
            if found == name and labels.items() <= dict(all_labels).items()
        )

    def pids(self) -> list[int]:
        """Return the ids of the workers that serve."""
        workers = self.client.get("/api/status").json()["workers"]
        return [worker["pid"] for worker in workers if worker["state"] == "serving"]


def samples_of(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
