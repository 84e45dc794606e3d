"""What others have written, for an operator's terminal."""


def plain(text: str) -> str:
    """The text with what is not printable escaped: nobody draws on the terminal, or hides lines.

    Texts come from gateways, from callers, and from whoever may have stolen a login.
    """
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )
