"""Who is told when a run fails, and how: a message to a webhook, an e-mail, or nobody, which is the default.

Set by environment variables alone, so that no address and no secret lies in a file of the repository.
`from __future__ import annotations` must not be added: Dagster reads the annotation of `context`.
"""

import json
import os
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from http.client import HTTPException
from urllib.parse import urlsplit

import dagster as dg

from assets.errors import InputError
from orchestration.faults import faults_in

SECONDS_TO_DELIVER = 10.0
LONGEST_SENTENCE = 600  # a traceback is in the run's log; an alert says what failed
EMAIL = ("NEURON_ATLAS_ALERT_EMAIL", "NEURON_ATLAS_SMTP_HOST", "NEURON_ATLAS_SMTP_USER", "NEURON_ATLAS_SMTP_PASSWORD")


class AlertsError(InputError):
    """A way to tell somebody that cannot be used. The message never holds the address of a webhook, which is a secret itself."""


@dataclass(frozen=True)
class Alerts:
    """Where alerts go. "" and () switch a way off."""

    webhook: str = field(default="", repr=False)  # such an address is a secret itself
    email_to: tuple[str, ...] = ()
    smtp_host: str = ""
    smtp_user: str = ""
    smtp_password: str = field(default="", repr=False)

    @classmethod
    def from_environment(cls) -> "Alerts":
        """NEURON_ATLAS_ALERT_WEBHOOK; and for e-mail NEURON_ATLAS_ALERT_EMAIL with NEURON_ATLAS_SMTP_HOST, _USER and _PASSWORD."""
        to, host, user, password = (os.environ.get(name, "") for name in EMAIL)
        receivers = tuple(address.strip() for address in to.split(",") if address.strip())
        return cls(os.environ.get("NEURON_ATLAS_ALERT_WEBHOOK", ""), receivers, host, user, password)


def alert_sensors(alerts: Alerts) -> list[dg.SensorDefinition]:
    """One sensor a way that is set; a way that is set is switched on. Raises AlertsError where a setting is missing or of no use."""
    sensors: list[dg.SensorDefinition] = []
    if alerts.webhook:
        sensors.append(_webhook_sensor(alerts.webhook))
    if alerts.email_to:
        if not (alerts.smtp_host and alerts.smtp_user and alerts.smtp_password):
            raise AlertsError(f"{EMAIL[0]} is set, but not all of {', '.join(EMAIL[1:])}; set them, or unset {EMAIL[0]}")
        sensors.append(
            dg.make_email_on_run_failure_sensor(
                name="failed_run_by_email",
                email_from=alerts.smtp_user,
                email_password=alerts.smtp_password,
                email_to=list(alerts.email_to),
                email_subject_fn=lambda context: f"Neuron Atlas: {context.dagster_run.job_name} failed",
                email_body_fn=message,
                smtp_host=alerts.smtp_host,
                default_status=dg.DefaultSensorStatus.RUNNING,
            )
        )
    return sensors


def _webhook_sensor(url: str) -> dg.SensorDefinition:
    if not _is_web_address(url):
        raise AlertsError("NEURON_ATLAS_ALERT_WEBHOOK: what is given is no address of the form https://host/path; correct it, or unset it")

    @dg.run_failure_sensor(
        name="failed_run_by_webhook",
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Posts what failed, as JSON with the field `text`, to the address in NEURON_ATLAS_ALERT_WEBHOOK.",
    )
    def failed_run_by_webhook(context: dg.RunFailureSensorContext) -> None:
        body = json.dumps({"text": message(context)}).encode()
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=SECONDS_TO_DELIVER):
                pass
        except (OSError, HTTPException, ValueError) as error:  # shows in the sensor's tick, where the address must not stand
            raise AlertsError(f"the receiver that NEURON_ATLAS_ALERT_WEBHOOK names did not take the message ({_reason(error)})") from None

    return failed_run_by_webhook


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and url.isascii() and url.isprintable() and " " not in url


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"it answered {error.code}"
    return str(error.reason) if isinstance(error, urllib.error.URLError) else type(error).__name__


def message(context: dg.RunFailureSensorContext) -> str:
    """What failed, a line a fault, as `make study` prints it."""
    run = context.dagster_run
    events = (entry.dagster_event for entry in context.instance.all_logs(run.run_id) if entry.dagster_event is not None)
    faults = faults_in(events) or [context.failure_event.message or "the run ended without saying why"]
    lines = [fault if len(fault) <= LONGEST_SENTENCE else f"{fault[:LONGEST_SENTENCE]}…" for fault in faults]
    return "\n".join([f"{run.job_name} failed (run {run.run_id[:8]}):", *lines])
