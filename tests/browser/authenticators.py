"""The authenticators of a user: a virtual one in Chromium, and an app that scans a QR code."""

import io
from dataclasses import dataclass
from typing import Any

import pyotp
import zxingcpp
from PIL import Image
from playwright.sync_api import CDPSession, Page


@dataclass
class VirtualAuthenticator:
    """A virtual authenticator. It answers at once if presence is simulated, else never."""

    cdp: CDPSession
    id: str

    def set_presence(self, *, is_simulated: bool) -> None:
        self.cdp.send(
            "WebAuthn.setAutomaticPresenceSimulation",
            {"authenticatorId": self.id, "enabled": is_simulated},
        )

    def set_verified(self, *, is_verified: bool) -> None:
        self.cdp.send(
            "WebAuthn.setUserVerified",
            {"authenticatorId": self.id, "isUserVerified": is_verified},
        )

    def credentials(self) -> list[dict[str, Any]]:
        found = self.cdp.send("WebAuthn.getCredentials", {"authenticatorId": self.id})
        return found["credentials"]


def make_authenticator(page: Page, *, presence: bool = True) -> VirtualAuthenticator:
    cdp = page.context.new_cdp_session(page)
    cdp.send("WebAuthn.enable", {"enableUI": False})
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": presence,
        "defaultBackupEligibility": True,
        "defaultBackupState": True,
    }
    added = cdp.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    return VirtualAuthenticator(cdp, added["authenticatorId"])


def scan_qr_code(page: Page) -> str:
    """Returns the text of the QR code, read from the pixels of the page."""
    picture = Image.open(io.BytesIO(page.locator("#totp-form svg[role=img]").screenshot()))
    (found,) = zxingcpp.read_barcodes(picture)
    return found.text


def key_of(uri: str) -> str:
    """Returns the key in the text of a QR code, in base32."""
    app = pyotp.parse_uri(uri)
    assert isinstance(app, pyotp.TOTP)
    return app.secret
