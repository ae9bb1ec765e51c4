from orbistem.progress import Progress, Silent


def test_silent_is_a_progress_and_says_nothing(capsys):
    progress = Silent()
    assert isinstance(progress, Progress)
    progress.start("train", None)
    progress.advance(3, note="loss 1.0")
    progress.finish()
    assert capsys.readouterr() == ("", "")
