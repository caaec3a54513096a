-- Generations that were begun or replaced, until they are deleted. The live one is the one that the table projections names.
-- One that has an owner is being filled, by that process alone, until owned_until; then another process may go on with it.
CREATE TABLE generations (
    projection VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    generation INT UNSIGNED NOT NULL,
    version INT UNSIGNED NOT NULL,
    owner BINARY(16) NULL,
    owned_until DATETIME(6) NULL,
    replaced_at DATETIME(6) NULL,
    PRIMARY KEY (projection, generation)
) ENGINE = InnoDB
