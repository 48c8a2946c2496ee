"""What to tell the person in front of the kiosk for each reason."""

from __future__ import annotations

from glancein.types import Reason, Rejected

ADVICE: dict[Reason, str] = {
    Reason.NO_FACE: "Please look at the camera.",
    Reason.SEVERAL_FACES: "One person at a time, please.",
    Reason.TOO_SMALL: "Please come closer.",
    Reason.BLURRED: "Please hold still for a moment.",
    Reason.TOO_DARK: "It is too dark: please turn towards the light.",
    Reason.TOO_BRIGHT: "It is too bright: please step out of the light.",
    Reason.TURNED_AWAY: "Please turn your face to the camera.",
    Reason.COVERED: "Please uncover your face.",
    Reason.UNKNOWN: "Not recognised. Please see HR if you should be.",
    Reason.AMBIGUOUS: "Not sure who you are. Please use your PIN or see HR.",
    Reason.EMPTY_GALLERY: "Nobody is enrolled on this kiosk yet.",
    Reason.NO_AGREEMENT: "Not sure who you are. Please look at the camera again.",
    Reason.DUPLICATE_PERSON: "This face is enrolled already.",
    Reason.UNREADABLE: "The picture cannot be read.",
    Reason.WRONG_FORMAT: "The picture is not a JPEG, PNG, WebP or BMP.",
    Reason.TOO_LARGE: "The picture is too large.",
    Reason.LOW_CONTRAST: "The light is too flat: please step closer or clean the camera.",
    Reason.CUT_OFF: "Please step into the middle of the picture.",
}


def advise(rejected: Rejected) -> str:
    """One sentence for the screen: what to do now."""
    return rejected.findings[0].advice if rejected.findings else ADVICE[rejected.reason]
