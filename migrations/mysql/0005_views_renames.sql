-- Renames that were applied, so that one that comes twice does not bring an old name back.
CREATE TABLE renames (
    generation INT UNSIGNED NOT NULL,
    token BINARY(16) NOT NULL,
    event_id BINARY(16) NOT NULL,
    PRIMARY KEY (generation, token, event_id)
) ENGINE = InnoDB
