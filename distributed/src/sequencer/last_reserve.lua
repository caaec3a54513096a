
if redis.call('GET', KEYS[1]) ~= '{epoch_value}' then return {'fenced'} end
local op = ARGV[1]
if op == 'check' then return 1 end

local function known(request, values)
  local answer = redis.call('GET', request)
  if not answer then return nil end
  local first, name = string.match(answer, '^(%x+):(.*)$')
  if first ~= values then return {'reused'} end
  return {'known', name}
end

local function must_ask(looked_up)
  return looked_up ~= '1' and tonumber(redis.call('TIME')[1]) < {young_until}
end

local function give(ticket)
  if ticket ~= '' then redis.call('SET', ticket, '', 'EX', {ticket_life}) end
end

if op == 'next' then
  local counter, request, above, ticket = KEYS[2], KEYS[3], KEYS[4], KEYS[5]
  local values, looked_up = ARGV[2], ARGV[3]
  if request ~= '' then
    local answer = known(request, values)
    if answer then
      if answer[1] == 'known' then give(ticket) end
      return answer
    end
    if must_ask(looked_up) then return {'ask'} end
  end
  local last = redis.call('GET', counter)
  if not last then
    local highest = above ~= '' and redis.call('GET', above)
    return {'cold', highest or ''}
  end
  last = tonumber(last)
  if last >= {highest_number} then return {'exhausted'} end
  local number = string.format('%.0f', last + 1)
  redis.call('SET', counter, number, 'EX', {counter_idle})
  if request ~= '' then redis.call('SET', request, values .. ':' .. number, 'EX', {key_memory}) end
  give(ticket)
  return last + 1
end

if op == 'token' then
  local request, ticket = KEYS[2], KEYS[3]
  local values, looked_up, fresh = ARGV[2], ARGV[3], ARGV[4]
  if request ~= '' then
    local answer = known(request, values)
    if answer then
      if answer[1] == 'known' then give(ticket) end
      return answer
    end
    if must_ask(looked_up) then return {'ask'} end
    redis.call('SET', request, values .. ':' .. fresh, 'EX', {key_memory})
  end
  give(ticket)
  return 1
end

if op == 'ticket' then
  give(KEYS[2])
  return 1
end

if op == 'open' then
  if redis.call('DEL', KEYS[3]) == 0 then return {'late'} end
  redis.call('SET', KEYS[2], ARGV[2], 'NX', 'EX', {counter_idle})
  return 1
end

if op == 'exists' then return redis.call('EXISTS', KEYS[2]) end
return redis.error_reply('unknown operation')
