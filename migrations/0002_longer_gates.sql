-- Gates hold every sample of many cells, and are longer than any other payload may be.

ALTER TABLE envelope
    DROP CONSTRAINT envelope_payload_check,
    ADD CONSTRAINT envelope_payload_check CHECK (octet_length(payload) <=
        CASE payload_type WHEN 'application/vnd.joulemark.gate.v1+json' THEN 8388608 ELSE 1048576 END);
