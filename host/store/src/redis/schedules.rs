//! Schedules: in a hash by their ids, and in the order in which they were made.

use super::Redis;
use super::link::{Reply, typed};
use super::modules::{revised, unrevised};
use super::scripts::{DELETE_SCHEDULE, PUT_SCHEDULE};
use crate::codec::{Kind, checksum, encode};
use crate::schedule::{cursor, place};
use crate::{MAX_PAGE, SchedulePage, StoreError};
use everstep_core::{Schedule, ScheduleId};
use redis::cmd;

impl Redis {
    pub(super) async fn write_schedule(
        &self,
        schedule: &Schedule,
        expected: Option<u64>,
    ) -> Result<(), StoreError> {
        let (id, revision, data) = (schedule.id, schedule.revision, encode(schedule)?);
        let value = revised(checksum_of(id, revision, &data), revision, &data);
        let expected = expected.map_or_else(Vec::new, |it| it.to_be_bytes().to_vec());
        let keys =
            ["schedules", "schedule_order", "schedule_last"].map(|name| self.keys.meta(name));
        let args = [id.as_bytes().as_slice(), &expected, &value];
        let Reply { result, unsure } = self.link.run_once(&PUT_SCHEDULE, &keys, &args).await;
        let answer: Vec<Vec<u8>> = typed(result)?;
        let there = match answer.as_slice() {
            [word, there] if word == b"changed" => there,
            _ => return Ok(()),
        };
        let revision = there.as_slice().try_into().ok().map(u64::from_be_bytes);
        if unsure && revision == Some(schedule.revision) {
            let lost = "the connection was lost, and whether the schedule was written is not known";
            return Err(StoreError::Unavailable(lost.into()));
        }
        Err(StoreError::ScheduleChanged { revision })
    }

    pub(super) async fn read_schedule(
        &self,
        id: ScheduleId,
    ) -> Result<Option<Schedule>, StoreError> {
        let mut get = cmd("HGET");
        get.arg(self.keys.meta("schedules")).arg(id.as_bytes());
        let value: Option<Vec<u8>> = self.link.ask(&get).await?;
        value.map(|value| unpack(id, &value)).transpose()
    }

    pub(super) async fn list_schedules(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<SchedulePage, StoreError> {
        let limit = limit.clamp(1, MAX_PAGE);
        let mut range = cmd("ZRANGEBYSCORE");
        range.arg(self.keys.meta("schedule_order")).arg(format!("({}", place(after)?));
        range.arg("+inf").arg("WITHSCORES").arg("LIMIT").arg(0).arg(limit + 1);
        let order: Vec<(Vec<u8>, u64)> = self.link.ask(&range).await?;
        let mut page = SchedulePage::default();
        if order.len() > limit {
            page.cursor = order.get(limit - 1).map(|(_, no)| cursor(*no));
        }
        let ids: Vec<&Vec<u8>> = order.iter().take(limit).map(|(id, _)| id).collect();
        if ids.is_empty() {
            return Ok(page);
        }
        let mut get = cmd("HMGET");
        get.arg(self.keys.meta("schedules")).arg(&ids);
        let values: Vec<Option<Vec<u8>>> = self.link.ask(&get).await?;
        for (id, value) in ids.into_iter().zip(values) {
            // One without a value was deleted meanwhile.
            let Some(value) = value else { continue };
            let id = id.as_slice().try_into().map(ScheduleId::from_bytes);
            let id = id.map_err(|_| StoreError::corrupt("a schedule has no id"))?;
            match unpack(id, &value) {
                Ok(schedule) => page.schedules.push(schedule),
                Err(error) => {
                    tracing::error!(%error, "a schedule is damaged");
                    page.damaged.push(id);
                }
            }
        }
        Ok(page)
    }

    pub(super) async fn remove_schedule(&self, id: ScheduleId) -> Result<bool, StoreError> {
        let keys = ["schedules", "schedule_order"].map(|name| self.keys.meta(name));
        let answer: Vec<String> = self.link.run(&DELETE_SCHEDULE, &keys, &[id.as_bytes()]).await?;
        Ok(answer.first().is_some_and(|word| word == "deleted"))
    }
}

fn unpack(id: ScheduleId, value: &[u8]) -> Result<Schedule, StoreError> {
    let damaged = |how: &str| StoreError::corrupt(format!("schedule {id}: {how}"));
    let (crc, revision, data) = unrevised(value).ok_or_else(|| damaged("it is too short"))?;
    if checksum_of(id, revision, data) != crc {
        return Err(damaged("its checksum is wrong"));
    }
    let schedule: Schedule =
        rmp_serde::from_slice(data).map_err(|error| damaged(&error.to_string()))?;
    if (schedule.id, schedule.revision) != (id, revision) {
        return Err(damaged("its head says something else"));
    }
    Ok(schedule)
}

fn checksum_of(id: ScheduleId, revision: u64, data: &[u8]) -> u32 {
    checksum(Kind::Schedule, id.as_bytes(), revision, 1, data)
}
