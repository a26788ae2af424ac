"""Numbers with a noun in messages: one rank, two ranks."""


def counted(number: int, noun: str) -> str:
    """Return a number with a noun in singular or plural, such as "1 rank" or "1,024 classes".

    noun: in singular; words before the last one stay as they are.
    """
    return f"{number:,} {plural(number, noun)}"


def plural(number: int, noun: str) -> str:
    """Return a noun in singular if the number is 1, otherwise in plural."""
    if number == 1:
        return noun
    return noun + ("es" if noun.endswith(("s", "x", "sh", "tch")) else "s")
