"""Mails: headers, the right part of alternatives, attachments, encryption."""

from email.message import EmailMessage

import pytest

from rag_platform.documents.parsing.mail import parse_mail
from rag_platform.documents.parsing.result import ParseRefused, Reason


def mail(text: str = "Dear all,\n\nwords.\n", **headers: str) -> EmailMessage:
    message = EmailMessage()
    for name, value in {"Subject": "Fees", "From": "A <a@example.com>", **headers}.items():
        message[name] = value
    message.set_content(text)
    return message


HEAD = "# Fees\n\nFrom: A <a@example.com>"


def test_headers_and_text() -> None:
    headers = {"Subject": "Gebühren für Müller", "To": "b@example.com"}
    headers["Date"] = "Fri, 16 Dec 2022 17:04:16 -0500"
    message = mail("Grüße\n\nZeile", **headers)
    parsed = parse_mail(message.as_bytes())
    assert parsed.text == (
        "# Gebühren für Müller\n\nFrom: A <a@example.com>\nTo: b@example.com\n"
        "Date: Fri, 16 Dec 2022 17:04:16 -0500\n\nGrüße\n\nZeile"
    )
    assert parsed.title == "Gebühren für Müller"
    assert parsed.metadata == {
        "author": "A <a@example.com>",
        "to": "b@example.com",
        "date": "2022-12-16T17:04:16-05:00",
    }


def test_plain_text_comes_before_html_and_html_before_nothing() -> None:
    message = mail()
    message.add_alternative("<p>html</p>", subtype="html")
    assert parse_mail(message.as_bytes()).text == f"{HEAD}\n\nDear all,\n\nwords."
    message = mail("\n")
    message.add_alternative(
        "<h2>Hi</h2><p style='display:none'>unseen</p><p>html</p>", subtype="html"
    )
    parsed = parse_mail(message.as_bytes())
    assert parsed.text == f"{HEAD}\n\n## Hi\n\nhtml"
    assert parsed.metadata["hidden_characters"] == "6"


def test_attachments_are_named_and_attached_mails_read() -> None:
    message = mail()
    message.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="a b.pdf")
    message.add_attachment("no text of ours", filename="n.txt")
    message.add_attachment(mail("The inner one.", Subject="Re: Fees"))
    parsed = parse_mail(message.as_bytes())
    assert parsed.text == (
        f"{HEAD}\n\nDear all,\n\nwords.\n\n# Re: Fees\n\nFrom: A <a@example.com>\n\nThe inner one."
    )
    assert parsed.metadata["attachments"] == "a b.pdf, n.txt"


def test_encodings_and_damage() -> None:
    head = b"Subject: =?utf-8?q?Geb=C3=BChr?= =?x-none?q?y?=\n"
    head += b"Content-Type: text/plain; charset=x-none\n\n"
    parsed = parse_mail(head + "Größe".encode("cp1252"))
    assert "Größe" in parsed.text
    assert parse_mail(b"Subject: x\nContent-Type: multipart/mixed\n\nno parts").title == "x"
    assert parse_mail(b"Subject: x\nDate: yesterday\n\n").metadata == {"date": "yesterday"}


def test_refused() -> None:
    encrypted = b"Subject: x\nContent-Type: multipart/encrypted; boundary=b\n\n--b\n\nx\n--b--\n"
    smime = b"Subject: x\nContent-Type: application/pkcs7-mime; smime-type=enveloped-data\n\nx"
    for data, reason in (
        (encrypted, Reason.ENCRYPTED),
        (smime, Reason.ENCRYPTED),
        (b"just some words", Reason.CORRUPT),
        (b"", Reason.CORRUPT),
    ):
        with pytest.raises(ParseRefused) as refused:
            parse_mail(data)
        assert refused.value.failure.reason == reason


def test_a_long_header_takes_no_time() -> None:
    parsed = parse_mail(b"Subject: " + b"=?utf-8?q?x?= " * 200_000 + b"\n\ntext")
    assert len(parsed.title) <= 500


def test_no_part_is_passed_over_in_silence() -> None:
    head = b'Subject: x\nContent-Type: multipart/mixed; boundary="b"\n\n'
    part = b"--b\nContent-Type: text/plain\n\nword\n"
    assert parse_mail(head + part * 999 + b"--b--").text.count("word") == 999
    with pytest.raises(ParseRefused, match="over 1,000 parts"):
        parse_mail(head + part * 1_000 + b"--b--")


def test_a_charset_that_cannot_be_is_no_charset() -> None:
    said = b"Subject: x\nContent-Type: text/plain; charset=idna\n\n" + b"a" * 100 + b" M\xfcller"
    assert parse_mail(said).text.endswith("a Müller")


def alternatives(*parts: bytes) -> bytes:
    listed = b"".join(b"--c\nContent-Type: " + part + b"\n" for part in parts)
    return b"Subject: s\nContent-Type: multipart/alternative; boundary=c\n\n" + listed + b"--c--\n"


def test_an_alternative_that_says_nothing_hides_no_other() -> None:
    html = b"text/html\n\n<p>words</p>"
    blank = b"text/plain\nContent-Transfer-Encoding: base64\n\nICAK"  # two spaces
    related = b"multipart/related; boundary=d\n\n--d\nContent-Type: " + html + b"\n--d--"
    calendar = b"text/calendar\n\nBEGIN:VCALENDAR"
    for parts in ((blank, html), (related, calendar), (html, calendar)):
        assert parse_mail(alternatives(*parts)).text.endswith("words")
    assert parse_mail(alternatives(calendar)).text == "# s"
