"""A bucket of Google Cloud Storage on this machine, for tests: moto's S3 behind Google's headers.

The lake's client speaks Google's XML interface, which is that of S3 with other headers: listings
and their pages, ETags, uploads in parts and errors are the same. The emulators that pip installs
(gcp-storage-emulator, fake-gcs-server) speak the JSON interface and refuse what this client sends.
"""

import json
import logging
import threading
from typing import Any

_SIGNED = (
    "AWS4-HMAC-SHA256 Credential=test/20250101/us-east-1/s3/aws4_request, SignedHeaders=host, "
    "Signature=none"
)


class GcsServer:
    """The buckets of moto in this process, as Google spells them; `moto.s3` creates them."""

    def __init__(self) -> None:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import make_server

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        s3 = DomainDispatcherApplication(create_backend_app)

        def application(environ: dict[str, Any], start_response: Any) -> Any:
            if environ.get("HTTP_X_GOOG_IF_GENERATION_MATCH") == "0":  # nothing there yet
                environ["HTTP_IF_NONE_MATCH"] = "*"
            if source := environ.get("HTTP_X_GOOG_COPY_SOURCE"):
                environ["HTTP_X_AMZ_COPY_SOURCE"] = source
            environ["HTTP_AUTHORIZATION"] = _SIGNED
            return s3(environ, start_response)

        self._server = make_server("127.0.0.1", 0, application, threaded=True)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def key(self) -> str:
        """What GOOGLE_SERVICE_ACCOUNT_KEY holds for the client to come here."""
        return json.dumps(
            {
                "gcs_base_url": f"http://127.0.0.1:{self._server.port}",
                "disable_oauth": True,
                "client_email": "",
                "private_key": "",
                "private_key_id": "",
            }
        )

    def stop(self) -> None:
        """Listen no longer."""
        self._server.shutdown()
        self._server.server_close()
