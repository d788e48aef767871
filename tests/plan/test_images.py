"""Which images are the run's: by name, behind whatever a default-repo makes of it."""

from __future__ import annotations

import pytest

from watcher.plan.run import artifact_index


@pytest.mark.parametrize(
    ("image", "artifact", "own"),
    [
        ("app:v1", "app", True),
        ("localhost:5000/app:v1@sha256:12", "app", True),
        ("localhost:5000/team/app", "team/app", True),
        ("localhost:5000/team_app:v1", "team/app", True),
        ("localhost:5000/team-app:v1", "team/app", True),
        ("localhost:5000/my-app", "app", False),
        ("gcr.io/team/prod/app:v1", "gcr.io/team/app", True),
        ("europe-docker.pkg.dev/team/prod/app", "europe-docker.pkg.dev/team/app", True),
        ("gcr.io/prod/team/app:v1", "gcr.io/team/app", True),
        ("gcr.io/team/prod/other", "gcr.io/team/app", False),
        ("gcr.io/others/prod/app", "gcr.io/team/app", False),
        ("quay.io/team/prod/app", "quay.io/team/app", False),
    ],
)
def test_images(image: str, artifact: str, own: bool) -> None:  # noqa: FBT001 - a row
    """As a whole name, with its signs replaced, or, in Google's registries, with what both begin with there once."""
    assert artifact_index((artifact,)).has(image) is own
