"""E-mails, mailboxes, and Outlook's messages."""
