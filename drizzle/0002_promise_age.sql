ALTER TABLE `promises` ADD `made_ms` integer DEFAULT 0 NOT NULL;--> statement-breakpoint
-- Nobody knows how old these are: as if they had been made now.
UPDATE `promises` SET `made_ms` = unixepoch() * 1000;--> statement-breakpoint
CREATE INDEX `promises_by_age` ON `promises` (`made_ms`);
