-- Pauses by gate key: `paused` is a hash, gate key -> JSON {by, reason, at}. What stands there is paused.

-- Whether one of these gate keys is paused. Writes nothing.
-- Answer: nil, or {blocked_by, reason} of the first one that is
local function ask_pauses(keys)
  if #keys == 0 then return nil end
  for place, text in ipairs(redis.call('HMGET', key('paused'), unpack(keys))) do
    if text then
      local readable, told = pcall(cjson.decode, text)
      return {'paused:' .. keys[place], readable and type(told) == 'table' and told.reason or ''}
    end
  end
  return nil
end
