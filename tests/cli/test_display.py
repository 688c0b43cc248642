"""What a bar says while it is not known how long something takes, and when it is."""

import io

from rich.console import Console

from calibrant.cli.display import StepProgress


def test_a_bar_moves_while_data_are_read_and_tells_the_time_left_in_training() -> None:
    written = io.StringIO()
    with StepProgress(Console(file=written, force_terminal=True, width=120, color_system=None), 3) as bar:
        bar.note(5, 20, 1)
    lines = written.getvalue().splitlines()
    reading = next(line for line in lines if "reading the data" in line)
    assert "%" not in reading
    assert "left" not in reading
    training = next(line for line in lines if "epoch 1 of 3" in line)
    assert " 25 %" in training
    assert "elapsed" in training
    assert "left" in training
