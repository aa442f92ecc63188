"""Key provider of production: a key in AWS KMS, which never leaves it."""

import base64
from functools import cached_property
from typing import Any

from retail_platform.errors import KeysUnavailable
from retail_platform.protection.keys import WrappedKey


class KmsKey:
    """One symmetric KMS key. Connects when first used; data keys are unwrapped once a process."""

    name = "kms"

    def __init__(self, key_id: str) -> None:
        """Name the key.

        Args:
            key_id: id, ARN or ``alias/...``; region, endpoint and credentials come from AWS's own
                variables. The role needs kms:GenerateDataKeyWithoutPlaintext and kms:Decrypt.
        """
        self.key_id = key_id
        self._unwrapped: dict[WrappedKey, bytes] = {}

    @cached_property
    def _client(self) -> Any:
        import boto3  # noqa: PLC0415 - slow, and only where there is such a key

        return boto3.client("kms")

    def new_key(self, version: int) -> WrappedKey:
        """A new data key, wrapped; see `KeyProvider`."""
        answer = self._ask(
            "generate_data_key_without_plaintext",
            KeyId=self.key_id,
            KeySpec="AES_256",
            EncryptionContext=_context(version),
        )
        return WrappedKey(
            version=version,
            provider=self.name,
            master=answer["KeyId"],
            wrapped=base64.b64encode(answer["CiphertextBlob"]).decode(),
        )

    def unwrap(self, key: WrappedKey) -> bytes:
        """The data key in clear; see `KeyProvider`."""
        if key not in self._unwrapped:
            # By the key that wrapped it, which an alias may point to no longer.
            answer = self._ask(
                "decrypt",
                KeyId=key.master,
                CiphertextBlob=base64.b64decode(key.wrapped),
                EncryptionContext=_context(key.version),
            )
            self._unwrapped[key] = answer["Plaintext"]
        return self._unwrapped[key]

    def _ask(self, operation: str, **arguments: Any) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            return getattr(self._client, operation)(**arguments)
        except (BotoCoreError, ClientError) as exc:
            raise KeysUnavailable(
                f"KMS key {arguments['KeyId']} cannot be used: {exc}. Check RETAIL_KMS_KEY_ID, the "
                "region and what the role may do. Files with personal data wait in the inbox."
            ) from exc


def _context(version: int) -> dict[str, str]:
    return {"platform": "retail_platform", "data_key": str(version)}
