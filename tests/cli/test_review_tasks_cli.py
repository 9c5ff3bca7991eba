"""What a clumsy user of pretrained models gets to read."""

from collections.abc import Callable
from pathlib import Path

from own_study import Ran


def test_the_folder_of_an_unknown_user_is_refused_in_one_message(
    ablate: Callable[..., Ran], tiny_file: Path, cache: Path
) -> None:
    ran = ablate("check", tiny_file, "model.init_from=~no-such-user/model", "--cache", cache)
    ran.refuses("model.init_from", "~no-such-user/model", "no such user's folder")
