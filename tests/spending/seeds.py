"""Random histories, each from a seed that is named if it fails."""


def play_seeds(play, number):
    """Call `play` with the seeds from 0 to `number`, and name the one that fails."""
    for seed in range(number):
        try:
            play(seed)
        except AssertionError:
            print(f"the history of seed {seed} differs")
            raise
