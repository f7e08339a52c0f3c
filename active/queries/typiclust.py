"""TypiClust (Hacohen et al., ICML 2022, https://arxiv.org/abs/2202.02794)."""

from __future__ import annotations

from active.covering import ArtifactQuery
from active.query import Gathered, Request, Selection
from datamodules.typiclust import typiclust


class TypiClust(ArtifactQuery):
    """The most typical samples of the clusters with the fewest labels, as the init of that name.

    Args:
        max_clusters: no more clusters than this, whatever |L| and the budget.
        neighbors: nearest members that typicality is measured over.
    """

    def __init__(self, max_clusters: int = 500, neighbors: int = 20):
        super().__init__()
        if min(max_clusters, neighbors) < 1:
            raise ValueError("max_clusters and neighbors must be at least 1")
        self.max_clusters, self.neighbors = max_clusters, neighbors

    def select(self, gathered: Gathered, request: Request) -> Selection:
        field = self.field(gathered, request)
        picks = typiclust(
            field.features,
            request.budget,
            labeled=field.labeled,
            seed=request.seeds.stream("query", request.cycle, 2) % 2**32,  # what k-means takes
            max_clusters=self.max_clusters,
            neighbors=self.neighbors,
        )
        return field.selection(picks)
