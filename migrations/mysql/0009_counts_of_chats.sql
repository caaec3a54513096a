-- gaps: missing numbers below last_number as text, first-last, several joined by commas.
CREATE TABLE chat_counts (
    generation INT UNSIGNED NOT NULL,
    token BINARY(16) NOT NULL,
    number INT UNSIGNED NOT NULL,
    created BOOLEAN NOT NULL,
    last_number INT UNSIGNED NOT NULL,
    gaps MEDIUMTEXT CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    messages_count INT UNSIGNED NOT NULL,
    PRIMARY KEY (generation, token, number)
) ENGINE = InnoDB
