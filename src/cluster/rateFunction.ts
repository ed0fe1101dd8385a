/**
 * Admission by rate as one statement of the database.
 *
 * It is one function and not a transaction of several statements: a worker that vanishes in the middle of one would
 * hold the lock, and block all other workers, until its connection is given up.
 *
 * It matches `internal/admission/slidingWindow.ts`: the same slots, the same two rules (window and pace), the same
 * settlement. Arguments: the key; the ended requests,
 * `[{"slot", "requests", "tokens", "used_requests", "used_tokens"}]`; the requested reservations, in order,
 * `[{"requests", "tokens"}]`; the limits of a window, or null; the share of a limit that may be used at once;
 * milliseconds until an admitted request counts at the latest; the window and the width of a slot in milliseconds.
 * Returns the number of admissions, their slot, the milliseconds until the next one may fit, and the current counts.
 */
export const rateFunction = `
CREATE OR REPLACE FUNCTION gateway_batch_rate(
  p_key text, p_settled json, p_asked json, p_requests float8, p_tokens float8, p_burst float8,
  p_hold float8, p_window float8, p_width float8,
  OUT admitted integer, OUT slot_number float8, OUT wait float8, OUT requests_used float8, OUT tokens_used float8
) LANGUAGE plpgsql VOLATILE AS $gateway$
DECLARE
  v_now float8;
  v_first bigint;
  v_slot bigint;
  v_burst_requests float8 := greatest(1, p_requests * p_burst);
  v_burst_tokens float8 := greatest(1, p_tokens * p_burst);
  v_level_requests float8;
  v_level_tokens float8;
  v_refilled float8;
  v_missing float8;
  v_excess float8;
  v_row record;
BEGIN
  INSERT INTO gateway_batch_rates (key, requests, tokens, refilled_at)
    VALUES (p_key, coalesce(v_burst_requests, 0), coalesce(v_burst_tokens, 0), 0)
    ON CONFLICT (key) DO NOTHING;
  SELECT r.requests, r.tokens, r.refilled_at INTO v_level_requests, v_level_tokens, v_refilled
    FROM gateway_batch_rates r WHERE r.key = p_key FOR UPDATE;
  -- Read behind the lock: a worker that waited for it comes after the one that held it.
  v_now := floor(extract(epoch FROM clock_timestamp()) * 1000);
  v_first := floor((v_now - p_window) / p_width);
  v_slot := floor((v_now + p_hold) / p_width);
  DELETE FROM gateway_batch_rate_slots s WHERE s.key = p_key AND s.slot < v_first;

  IF v_now > v_refilled THEN
    v_level_requests := least(v_burst_requests, v_level_requests + (v_now - v_refilled) * p_requests / p_window);
    v_level_tokens := least(v_burst_tokens, v_level_tokens + (v_now - v_refilled) * p_tokens / p_window);
    v_refilled := v_now;
  END IF;

  FOR v_row IN SELECT * FROM json_to_recordset(p_settled)
    AS x(slot bigint, requests float8, tokens float8, used_requests float8, used_tokens float8)
  LOOP
    v_level_requests := least(v_burst_requests, v_level_requests + v_row.requests - v_row.used_requests);
    v_level_tokens := least(v_burst_tokens, v_level_tokens + v_row.tokens - v_row.used_tokens);
    CONTINUE WHEN v_row.slot < v_first;
    UPDATE gateway_batch_rate_slots s SET requests = s.requests - v_row.requests, tokens = s.tokens - v_row.tokens
      WHERE s.key = p_key AND s.slot = v_row.slot;
    INSERT INTO gateway_batch_rate_slots AS s (key, slot, requests, tokens)
      VALUES (p_key, greatest(v_first, least(v_row.slot, floor(v_now / p_width)::bigint)), v_row.used_requests, v_row.used_tokens)
      ON CONFLICT (key, slot) DO UPDATE SET requests = s.requests + excluded.requests, tokens = s.tokens + excluded.tokens;
  END LOOP;

  SELECT coalesce(sum(s.requests), 0), coalesce(sum(s.tokens), 0) INTO requests_used, tokens_used
    FROM gateway_batch_rate_slots s WHERE s.key = p_key;
  admitted := 0;
  wait := 0;
  slot_number := v_slot;
  FOR v_row IN SELECT * FROM json_to_recordset(p_asked) AS x(requests float8, tokens float8)
  LOOP
    IF p_requests IS NOT NULL AND v_row.requests > 0 THEN
      v_missing := least(v_row.requests, v_burst_requests) - v_level_requests;
      IF v_missing > 1e-9 THEN wait := greatest(wait, v_missing * p_window / p_requests); END IF;
      v_excess := requests_used + v_row.requests - p_requests;
      IF v_excess > 0 THEN
        wait := greatest(wait, coalesce((
          SELECT (c.slot + 1) * p_width + p_window - v_now FROM (
            SELECT s.slot, sum(s.requests) OVER (ORDER BY s.slot) AS total
              FROM gateway_batch_rate_slots s WHERE s.key = p_key
          ) c WHERE c.total >= v_excess ORDER BY c.slot LIMIT 1), p_window));
      END IF;
    END IF;
    IF p_tokens IS NOT NULL AND v_row.tokens > 0 THEN
      v_missing := least(v_row.tokens, v_burst_tokens) - v_level_tokens;
      IF v_missing > 1e-9 THEN wait := greatest(wait, v_missing * p_window / p_tokens); END IF;
      v_excess := tokens_used + v_row.tokens - p_tokens;
      IF v_excess > 0 THEN
        wait := greatest(wait, coalesce((
          SELECT (c.slot + 1) * p_width + p_window - v_now FROM (
            SELECT s.slot, sum(s.tokens) OVER (ORDER BY s.slot) AS total
              FROM gateway_batch_rate_slots s WHERE s.key = p_key
          ) c WHERE c.total >= v_excess ORDER BY c.slot LIMIT 1), p_window));
      END IF;
    END IF;
    EXIT WHEN wait > 0;
    INSERT INTO gateway_batch_rate_slots AS s (key, slot, requests, tokens)
      VALUES (p_key, v_slot, v_row.requests, v_row.tokens)
      ON CONFLICT (key, slot) DO UPDATE SET requests = s.requests + excluded.requests, tokens = s.tokens + excluded.tokens;
    v_level_requests := v_level_requests - v_row.requests;
    v_level_tokens := v_level_tokens - v_row.tokens;
    requests_used := requests_used + v_row.requests;
    tokens_used := tokens_used + v_row.tokens;
    admitted := admitted + 1;
  END LOOP;
  wait := ceil(wait);
  UPDATE gateway_batch_rates r
    SET requests = coalesce(v_level_requests, 0), tokens = coalesce(v_level_tokens, 0), refilled_at = v_refilled
    WHERE r.key = p_key;
END
$gateway$`
